"""From listening logs to plays and splits; batches for training; the demo world."""
