"""What an agent learns, in minutes to hours: each a command of its own."""
