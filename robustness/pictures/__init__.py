"""From untrusted bytes to the study image, and the bundled samples."""
