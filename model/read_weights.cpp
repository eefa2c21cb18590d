#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include "common/error.h"
#include "model/pickle.h"
#include "model/state_dict.h"
#include "model/weights.h"

namespace musher {
namespace {

constexpr std::string_view kZip = "PK\x03\x04";

bool begins_with(std::span<const std::byte> bytes, std::string_view start) {
  return bytes.size() >= start.size() && std::memcmp(bytes.data(), start.data(), start.size()) == 0;
}

/// A pickle that is not in a zip file, as torch.save() wrote them before 1.6. A safetensors file
/// may begin with the same two bytes, but has its header after eight.
bool begins_as_pickle(std::span<const std::byte> bytes) {
  constexpr std::size_t kHeader = 8;
  return bytes.size() > kHeader && bytes[0] == std::byte{0x80} && bytes[1] >= std::byte{2} &&
         bytes[1] <= std::byte{5} && bytes[kHeader] != std::byte{'{'};
}

/// Of bytes that outlive it.
class MemoryReader : public caffe2::serialize::ReadAdapterInterface {
 public:
  explicit MemoryReader(std::string_view bytes) : bytes_(bytes) {}
  std::size_t size() const override { return bytes_.size(); }
  std::size_t read(std::uint64_t position, void* buffer, std::size_t count,
                   const char* /*what*/) const override {
    if (position >= bytes_.size()) return 0;
    const std::string_view part = bytes_.substr(position, count);
    std::memcpy(buffer, part.data(), part.size());
    return part.size();
  }

 private:
  std::string_view bytes_;
};

at::Tensor plain_copy(const at::Tensor& tensor) {
  return tensor.detach().to(at::kCPU).contiguous().clone();
}

Safetensors from_script(std::shared_ptr<MemoryReader> bytes) {
  const torch::jit::Module module = torch::jit::load(std::move(bytes), c10::Device(c10::kCPU));
  Safetensors weights;
  for (const auto& [key, tensor] : module.named_parameters())
    weights.tensors[key] = plain_copy(tensor);
  for (const auto& [key, tensor] : module.named_buffers())
    weights.tensors[key] = plain_copy(tensor);
  return weights;
}

/// What torch.save() writes since version 1.6.
Safetensors from_saved(caffe2::serialize::PyTorchStreamReader& reader, const std::string& name) {
  const auto [pickle, size] = reader.getRecord("data.pkl");
  if (reader.hasRecord("byteorder")) {
    const auto [order, length] = reader.getRecord("byteorder");
    if (std::string_view(static_cast<const char*>(order.get()), length) != "little") {
      throw Error(ErrorCode::kInvalidArgument,
                  name + " was written on a big-endian machine, which Musher does not read");
    }
  }
  std::map<std::string, std::pair<at::DataPtr, std::size_t>> storages;
  const StorageBytes storage = [&](const std::string& key) -> std::span<const std::byte> {
    auto found = storages.find(key);
    if (found == storages.end()) {
      auto [data, length] = reader.getRecord("data/" + key);
      found = storages.emplace(key, std::pair(std::move(data), length)).first;
    }
    return {static_cast<const std::byte*>(found->second.first.get()), found->second.second};
  };
  return from_state_dict(Pickle({static_cast<const std::byte*>(pickle.get()), size}, name), storage,
                         name);
}

/// The first line of what LibTorch says.
std::string reason(const std::exception& exception) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&exception);
  const std::string text = torch_error ? torch_error->what_without_backtrace() : exception.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace

Safetensors read_weights(std::span<const std::byte> bytes, const std::string& name) {
  if (begins_as_pickle(bytes)) return from_legacy_state_dict(bytes, name);
  if (!begins_with(bytes, kZip)) return from_safetensors(bytes, name);
  try {
    const auto archive = std::make_shared<MemoryReader>(
        std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    caffe2::serialize::PyTorchStreamReader reader(archive);
    return reader.hasRecord("constants.pkl") ? from_script(archive) : from_saved(reader, name);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kDataLoss, name + " can't be read as weights: " + reason(error));
  }
}

}  // namespace musher
