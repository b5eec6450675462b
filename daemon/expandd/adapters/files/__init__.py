"""The only access to paths below folders that people can write to, which walks them by descriptors."""
