#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace musher {

/// A part of a network, which uses no parameters but those it is passed with. `again`: it has run
/// with the same input before, and is to change nothing but what it returns.
using Segment = std::function<at::Tensor(const at::Tensor& x, bool again)>;

/// segment(x), of which autograd keeps `x` alone: backward runs the segment again (Chen et al.,
/// "Training deep nets with sublinear memory cost", 2016), with the Autocast that was in force. The
/// gradients are those of segment(x), bit for bit, of `x` and of `parameters`, which all require
/// them. The segment must live until backward is over.
at::Tensor run_again_in_backward(Segment segment, const at::Tensor& x,
                                 std::vector<at::Tensor> parameters);

}  // namespace musher
