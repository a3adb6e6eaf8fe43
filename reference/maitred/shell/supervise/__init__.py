"""What the Monitor does with processes: starts them, ends whatever descends from them, answers who asks about them."""
