"""The human study: how well people recognise the images that mislead networks."""
