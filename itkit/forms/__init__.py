"""Forms made from parameter models, and the commands that they start, without any toolkit.

`itkit-app` and `itkit-web` draw what `itkit.forms.description` returns, check it by `itkit.forms.checking`, and start
it by `itkit.forms.jobs`. None of them knows a parameter by name.
"""

from __future__ import annotations

from itkit.core.lazy import lazy_names

_HOMES = {
    "Field": ".description",
    "Form": ".description",
    "Page": ".pages",
    "form_of": ".description",
    "option_form": ".description",
    "pages": ".pages",
    "check": ".checking",
    "Checked": ".checking",
    "Command": ".command",
    "command_of": ".command",
    "Child": ".jobs",
    "Job": ".queue",
    "JobQueue": ".queue",
    "RunView": ".progress",
    "pipeline_text": ".chains",
    "save_preset": ".presets",
    "load_preset": ".presets",
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
