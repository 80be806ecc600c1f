"""How far apart two images are: distances, SSIM, and PASS."""
