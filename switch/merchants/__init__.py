"""Merchants: onboarding, stores, terminals, contracts, people, API credentials. Policy; the tables are the store's."""
