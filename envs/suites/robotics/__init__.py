"""What MuJoCo simulates: RoboDesk, Meta-World, DeepMind Control."""
