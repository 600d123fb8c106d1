"""Medical Segmentation Decathlon."""
