"""What netaudit should know of Acme's layers."""
