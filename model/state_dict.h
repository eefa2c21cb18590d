#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "model/pickle.h"
#include "model/weights.h"

namespace musher {

/// What torch.save() writes, read without running what is in it (model/pickle.h): a state dict, or
/// a training checkpoint that has one as `state_dict`, `model_state_dict` or `model`. Other things
/// beside it, of whatever class, are passed over. All with `name` in their errors: kInvalidArgument
/// where there is no state dict in it, kDataLoss where it is not whole.

/// The bytes of a storage, by its key, aligned for any dtype and alive until the reading is over;
/// throws where it is not there.
using StorageBytes = std::function<std::span<const std::byte>(const std::string& key)>;

/// From `pickle`, the data.pkl of the zip file that torch.save() has written since version 1.6.
Safetensors from_state_dict(const Pickle& pickle, const StorageBytes& storage,
                            const std::string& name);

/// Files of torch.save() before 1.6 and with _use_new_zipfile_serialization=False: five pickles,
/// then each storage with its number of elements (8 bytes, little-endian) before it.
Safetensors from_legacy_state_dict(std::span<const std::byte> bytes, const std::string& name);

}  // namespace musher
