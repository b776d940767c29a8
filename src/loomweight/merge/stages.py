"""What `loomweight merge` does besides merging: unite vocabularies, check the config, write the side files."""

from .config_of_result import honest
from .run import Stages
from .side_files import side_files

STAGES = Stages(checks=(honest,), beside=side_files)
