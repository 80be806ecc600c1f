"""Data sets: found or downloaded, verified, and written as the LMDBs that the networks use.

from caffe_ext.data import load_images
test = load_images("mnist", "test", data_dir=Path("/where/the/idx/files/lie"))
test.images, test.labels    # uint8 (10000, 1, 28, 28), int64 (10000,)
"""

from caffe_ext.data.database import read_database, write_database
from caffe_ext.data.digits import make_digits
from caffe_ext.data.image_files import read_image, write_png
from caffe_ext.data.image_set import DataSet, ImageSet
from caffe_ext.data.image_source import ImageBatch, ImageSource, open_images
from caffe_ext.data.load import load_images
from caffe_ext.data.mean_image import compute_mean_image, write_mean_image
from caffe_ext.data.preparation import PreparedFolder, Request, prepare
from caffe_ext.data.record import SourceRecord, read_record
from caffe_ext.errors import DataError, UnreachableError
from caffe_ext.reporting import Reporter, SilentReporter

__all__ = [
    "DataError",
    "DataSet",
    "ImageBatch",
    "ImageSet",
    "ImageSource",
    "PreparedFolder",
    "Reporter",
    "Request",
    "SilentReporter",
    "SourceRecord",
    "UnreachableError",
    "compute_mean_image",
    "load_images",
    "make_digits",
    "open_images",
    "prepare",
    "read_database",
    "read_image",
    "read_record",
    "write_database",
    "write_mean_image",
    "write_png",
]
