"""What ranks compare, so that none of them goes astray unseen."""
