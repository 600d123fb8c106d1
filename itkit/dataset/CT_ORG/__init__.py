"""CT-ORG."""
