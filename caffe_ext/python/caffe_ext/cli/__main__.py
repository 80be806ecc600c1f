"""`python -m caffe_ext.cli` is `caffe-ext`."""

import sys

from caffe_ext.cli.main import main

sys.exit(main())
