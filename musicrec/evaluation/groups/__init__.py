"""For whom a recommender works: groups of users and popularity bins of the held-out tracks."""
