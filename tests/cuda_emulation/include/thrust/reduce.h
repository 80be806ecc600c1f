// Caffe includes it without using it.
