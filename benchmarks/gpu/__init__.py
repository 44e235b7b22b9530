"""What any machine with a CUDA GPU can tell in nine minutes: does it work there, and how fast is it?"""
