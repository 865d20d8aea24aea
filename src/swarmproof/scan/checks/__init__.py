"""What is looked for in a single text. One small file each: a text in, hits with places out."""
