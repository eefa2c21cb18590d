#pragma once

namespace musher {

/// From now on the C library keeps what is freed for the next allocation and gives nothing back to
/// the system. A training step frees and allocates the same large tensors again and again; by
/// default each of them comes as fresh pages, which the system zeroes one fault at a time: a fifth
/// of the step of a wide network. The price is that the process stays as large as it once was. Call
/// from main, before other threads.
void keep_freed_memory();

}  // namespace musher
