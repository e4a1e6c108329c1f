"""What commands print to a terminal: plans, previews, progress, chats, exports."""
