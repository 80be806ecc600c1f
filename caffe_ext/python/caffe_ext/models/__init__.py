"""Models: classifiers of images, how pixels become their input, and files that describe them."""
