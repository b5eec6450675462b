"""What people and guards decide while the work goes on: commands, holds, pauses."""
