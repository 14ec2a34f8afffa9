"""What every other package stands on, and that knows none of them."""
