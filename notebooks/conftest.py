"""nbval, for every notebook below: outputs that may differ from run to run are not compared."""


def pytest_collectstart(collector):
    """Leave pictures, pages and the log out of the comparison (nbval's own hook for this)."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("image/gif", "image/svg+xml", "text/html", "stderr")
