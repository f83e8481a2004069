"""What a merchant and its people do: onboarding, payments looked up and refunded, webhooks."""
