"""What runs in the process of the user's program: the customised socket class, and the endpoint behind it."""
