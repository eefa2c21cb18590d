#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include "common/error.h"
#include "model/weights.h"

namespace musher {
namespace {

constexpr std::string_view kZip = "PK\x03\x04";
constexpr std::string_view kOldPickle = "\x80\x02";  // torch.save() before 1.6 had no zip

bool begins_with(std::span<const std::byte> bytes, std::string_view start) {
  return bytes.size() >= start.size() && std::memcmp(bytes.data(), start.data(), start.size()) == 0;
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

/// The first line of what LibTorch says.
std::string reason(const std::exception& exception) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&exception);
  const std::string text = torch_error ? torch_error->what_without_backtrace() : exception.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace

Safetensors read_weights(std::span<const std::byte> bytes, const std::string& name) {
  if (!begins_with(bytes, kZip) && !begins_with(bytes, kOldPickle))
    return from_safetensors(bytes, name);
  try {
    if (begins_with(bytes, kZip)) {
      const auto archive = std::make_shared<MemoryReader>(
          std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      if (caffe2::serialize::PyTorchStreamReader(archive).hasRecord("constants.pkl"))
        return from_script(archive);
    }
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kDataLoss, name + " can't be read as weights: " + reason(error));
  }
  // A pickle is a program; one that torch.save() wrote has classes that LibTorch does not know.
  throw Error(ErrorCode::kInvalidArgument,
              name +
                  " is a pickle, as torch.save() writes it; write the state dict with "
                  "safetensors.torch.save_file() instead");
}

}  // namespace musher
