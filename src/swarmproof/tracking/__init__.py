"""Sends the numbers of each round to TensorBoard, trackio or W&B while a run goes on."""
