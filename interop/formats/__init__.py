"""Files and folders of weights, each as a list of arrays that are read when asked for."""
