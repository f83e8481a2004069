"""Merchants: onboarding, stores, terminals, contracts, people, credentials, and what they see of their trade."""
