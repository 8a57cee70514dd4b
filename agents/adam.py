"""torch's Adam, without the import of a compiler that nothing here uses."""

from inspect import unwrap

import torch


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`, to the bit; a process that makes one starts a second sooner.

    torch wraps an optimizer's methods for `torch.compile`. The first call of any of them imports
    `torch._dynamo`: 800 modules, 70 MB, and as long as torch itself. These are the same methods
    without the wrapping.
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
