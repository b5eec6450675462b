"""Access to paths below folders that people can write to: walked by descriptors, and nowhere else."""
