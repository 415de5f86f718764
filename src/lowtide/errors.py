"""Every error that Lowtide raises on purpose, with the exit code that the command line gives it.

    LowtideError                1  (an internal error when raised as such)
    ├── InputError              2  unreadable, damaged, unsupported or hostile input; wrong options
    │   ├── ModelError          2  a model file
    │   ├── InstanceError       2  a solver's instance file, problem or certificate file
    │   └── PlanError           2  a plan that does not fit the model it is applied to
    ├── MissingExtraError       2  an optional dependency is not installed
    ├── BudgetInfeasibleError   3  no plan can meet the budget: proven
    ├── BudgetNotMetError       4  no plan was found that meets the budget, and none was excluded
    └── VerificationError       5  the result differs from what was promised: nothing was written
        └── CertificateError    5  a certificate does not prove its bound

A message says what, where, the value and the remedy.
"""

__all__ = [
    "BudgetInfeasibleError",
    "BudgetNotMetError",
    "CertificateError",
    "InputError",
    "InstanceError",
    "LowtideError",
    "MissingExtraError",
    "ModelError",
    "PlanError",
    "VerificationError",
]


class LowtideError(Exception):
    """The root of the tree."""

    exit_code = 1


class InputError(LowtideError):
    """Something the user handed over cannot be used."""

    exit_code = 2


class ModelError(InputError):
    """A model file is unreadable, damaged, unsupported or hostile."""


class InstanceError(InputError):
    """A solver's problem or instance file is malformed."""


class PlanError(InputError):
    """A plan does not belong to the model, or breaks its dependencies."""


class MissingExtraError(LowtideError):
    """An optional dependency is missing; the message names the extra to install."""

    exit_code = 2


class BudgetInfeasibleError(LowtideError):
    """The budget is below a proven lower bound."""

    exit_code = 3


class BudgetNotMetError(LowtideError):
    """The budget was not met and not proven infeasible either."""

    exit_code = 4


class VerificationError(LowtideError):
    """The emitted model was executed and did not do what was promised."""

    exit_code = 5


class CertificateError(VerificationError):
    """A certificate is no proof of its bound, or not of this problem's."""
