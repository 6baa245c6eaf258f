"""The wheel's tag: for any Python 3, as the libraries are loaded by ctypes, and for one system."""

import os

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlatformTag(BuildHookInterface):
    def initialize(self, version, build_data):
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{os.environ['LGS_PLATFORM_TAG']}"
