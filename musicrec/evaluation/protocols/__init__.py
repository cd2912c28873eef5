"""What splits differ in when they are scored: candidates, chance levels, artists."""
