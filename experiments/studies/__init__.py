"""What a study is: its conditions and contrasts, and those that come with a name."""
