"""From files to frames on their own clock, and to mono sound."""
