#include "model/state_dict.h"

#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/ops/as_strided.h>
#include <ATen/ops/clone.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "common/error.h"

namespace musher {
namespace {

using Kind = Pickle::Kind;
using Node = Pickle::Node;

constexpr std::array<std::string_view, 3> kNested = {"state_dict", "model_state_dict", "model"};
constexpr std::size_t kMaxDimensions = 64;  // LibTorch's own limit
constexpr int kMostWrappers = 2;            // Parameters around a tensor, and the tensor

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 10> kStorages = {{
    {"torch.DoubleStorage", at::kDouble},
    {"torch.FloatStorage", at::kFloat},
    {"torch.HalfStorage", at::kHalf},
    {"torch.BFloat16Storage", at::kBFloat16},
    {"torch.LongStorage", at::kLong},
    {"torch.IntStorage", at::kInt},
    {"torch.ShortStorage", at::kShort},
    {"torch.CharStorage", at::kChar},
    {"torch.ByteStorage", at::kByte},
    {"torch.BoolStorage", at::kBool},
}};

// How files before the zip format begin.
constexpr std::string_view kLegacyMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr std::int64_t kLegacyProtocol = 1001;

const at::ScalarType* type_of_storage(std::string_view name) {
  for (const auto& [known, type] : kStorages) {
    if (known == name) return &type;
  }
  return nullptr;
}

/// What a storage is called in a pickle: ('storage', class, key, device, elements, …), as the name
/// of a thing outside of it. Null where `node` is none.
const std::vector<Pickle::Id>* storage_parts(const Pickle& pickle, const Node& node) {
  constexpr std::size_t kParts = 5;
  if (node.kind != Kind::kPersistent) return nullptr;
  const Node& tuple = pickle.node(node.items[0]);
  return tuple.kind == Kind::kTuple && tuple.items.size() >= kParts ? &tuple.items : nullptr;
}

/// A tensor as the pickle describes it.
struct View {
  at::ScalarType type = at::kFloat;
  std::string storage;
  std::int64_t elements = 0;  ///< of the storage, as the pickle has it
  std::int64_t offset = 0;    ///< elements, as all that follows
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
};

class Reader {
 public:
  Reader(const Pickle& pickle, const StorageBytes& storage, const std::string& name)
      : pickle_(pickle), storage_(storage), name_(name) {}

  Safetensors read() {
    const Node& dict = find_state_dict();
    Safetensors result;
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const Node& key = pickle_.node(dict.items[i]);
      const Node* const tensor = tensor_call(pickle_.node(dict.items[i + 1]));
      if (key.kind == Kind::kText && tensor != nullptr)
        result.tensors.insert_or_assign(key.text, copy(view(key.text, *tensor), key.text));
    }
    return result;
  }

 private:
  [[noreturn]] void damaged(const std::string& tensor, const std::string& why) const {
    throw Error(ErrorCode::kDataLoss, fmt::format("{}: tensor {} {}", name_, tensor, why));
  }

  /// What makes the tensor that `node` is, without what is wrapped around it; null: it is none.
  const Node* tensor_call(const Node& node) const {
    const Node* inner = &node;
    for (int i = 0; i < kMostWrappers; ++i) {
      if (pickle_.is_call(*inner, "torch._utils._rebuild_tensor_v2")) return inner;
      const auto* arguments = pickle_.arguments(*inner, 1);
      const bool parameter = pickle_.is_call(*inner, "torch._utils._rebuild_parameter") ||
                             pickle_.is_call(*inner, "torch._utils._rebuild_parameter_with_state");
      if (!parameter || arguments == nullptr) return nullptr;
      inner = &pickle_.node((*arguments)[0]);
    }
    return nullptr;
  }

  bool has_tensors(const Node* dict) const {
    if (dict == nullptr || dict->kind != Kind::kDict) return false;
    for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
      if (tensor_call(pickle_.node(dict->items[i + 1])) != nullptr) return true;
    }
    return false;
  }

  /// First those with a name: a checkpoint may have a tensor beside its state dict.
  const Node& find_state_dict() const {
    const Node& root = pickle_.root();
    for (const std::string_view key : kNested) {
      if (const Node* nested = pickle_.find(root, key); has_tensors(nested)) return *nested;
    }
    if (has_tensors(&root)) return root;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} has no state dict in it, but {}; write net.state_dict() with "
                            "torch.save(), by itself or as one of {}",
                            name_, describe(root), fmt::join(kNested, ", ")));
  }

  std::string describe(const Node& root) const {
    if (root.kind == Kind::kObject) return "an object of " + pickle_.node(root.items[0]).text;
    if (root.kind != Kind::kDict) return "something else than a dict";
    constexpr std::size_t kNamed = 5;
    std::vector<std::string> keys;
    for (std::size_t i = 0; i + 1 < root.items.size() && keys.size() < kNamed; i += 2)
      keys.push_back(pickle_.node(root.items[i]).text);
    return fmt::format("a dict of {} without tensors", fmt::join(keys, ", "));
  }

  std::optional<std::vector<std::int64_t>> integers(const Node& tuple) const {
    if (tuple.kind != Kind::kTuple || tuple.items.size() > kMaxDimensions) return std::nullopt;
    std::vector<std::int64_t> values;
    for (const Pickle::Id id : tuple.items) {
      const Node& item = pickle_.node(id);
      if (item.kind != Kind::kInteger || item.integer < 0) return std::nullopt;
      values.push_back(item.integer);
    }
    return values;
  }

  /// _rebuild_tensor_v2(storage, offset, size, stride, …)
  View view(const std::string& tensor, const Node& call) const {
    const auto* arguments = pickle_.arguments(call, 4);
    if (arguments == nullptr) damaged(tensor, "lacks its storage or its shape");
    View view = storage_of(tensor, pickle_.node((*arguments)[0]));
    const Node& offset = pickle_.node((*arguments)[1]);
    const auto sizes = integers(pickle_.node((*arguments)[2]));
    const auto strides = integers(pickle_.node((*arguments)[3]));
    if (offset.kind != Kind::kInteger || offset.integer < 0 || !sizes || !strides ||
        sizes->size() != strides->size()) {
      damaged(tensor, "has no proper shape");
    }
    view.offset = offset.integer;
    view.sizes = *sizes;
    view.strides = *strides;
    return view;
  }

  View storage_of(const std::string& tensor, const Node& persistent) const {
    const auto* parts = storage_parts(pickle_, persistent);
    if (parts == nullptr) damaged(tensor, "has no storage");
    const std::string& name = pickle_.node((*parts)[1]).text;
    const at::ScalarType* const type = type_of_storage(name);
    if (type == nullptr) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}: tensor {} is kept in a {}, which Musher does not read", name_,
                              tensor, name));
    }
    View view;
    view.type = *type;
    view.storage = pickle_.node((*parts)[2]).text;
    view.elements = pickle_.node((*parts)[4]).integer;
    return view;
  }

  /// Row-major, in memory of its own.
  at::Tensor copy(const View& view, const std::string& tensor) const {
    const std::span<const std::byte> bytes = storage_(view.storage);
    const auto available = static_cast<std::int64_t>(bytes.size() / c10::elementSize(view.type));
    std::int64_t count = 1;
    std::int64_t last = view.offset;
    bool fits = view.elements <= available;
    for (std::size_t i = 0; i < view.sizes.size(); ++i) {
      std::int64_t reach = 0;
      fits = fits && !__builtin_mul_overflow(count, view.sizes[i], &count) &&
             !__builtin_mul_overflow(view.sizes[i] - 1, view.strides[i], &reach) &&
             !__builtin_add_overflow(last, reach, &last);
    }
    if (!fits || count > available || (count > 0 && last >= available))
      damaged(tensor, fmt::format("goes beyond its storage of {} elements", available));
    if (count == 0) return at::empty(view.sizes, view.type);
    // from_blob wants a pointer that may be written through; nothing writes.
    const at::Tensor flat =
        at::from_blob(const_cast<std::byte*>(bytes.data()),  // NOLINT(*-const-cast)
                      {available}, view.type);
    return flat.as_strided(view.sizes, view.strides, view.offset)
        .clone(at::MemoryFormat::Contiguous);
  }

  const Pickle& pickle_;
  const StorageBytes& storage_;
  const std::string& name_;
};

/// The storages of a legacy file, which begin at `bytes`, by key; `keys` are in their order.
std::map<std::string, std::vector<std::byte>> legacy_storages(std::span<const std::byte> bytes,
                                                              const Pickle& pickle,
                                                              const Pickle& keys,
                                                              const std::string& name) {
  std::map<std::string, std::uint64_t> element_sizes;
  for (const Node& node : pickle.nodes()) {
    const auto* parts = storage_parts(pickle, node);
    const auto* type = parts ? type_of_storage(pickle.node((*parts)[1]).text) : nullptr;
    if (type != nullptr) element_sizes[pickle.node((*parts)[2]).text] = c10::elementSize(*type);
  }
  std::map<std::string, std::vector<std::byte>> storages;
  for (const Pickle::Id id : keys.root().items) {
    const std::string& key = keys.node(id).text;
    std::uint64_t count = 0;
    const auto size = element_sizes.find(key);
    if (size != element_sizes.end() && bytes.size() >= sizeof count) {
      std::memcpy(&count, bytes.data(), sizeof count);
      bytes = bytes.subspan(sizeof count);
    }
    if (size == element_sizes.end() || count > bytes.size() / size->second) {
      throw Error(ErrorCode::kDataLoss,
                  fmt::format("{}: storage {} is cut off or of no known class", name, key));
    }
    const auto data = bytes.first(count * size->second);
    storages[key] = {data.begin(), data.end()};
    bytes = bytes.subspan(data.size());
  }
  return storages;
}

}  // namespace

Safetensors from_legacy_state_dict(std::span<const std::byte> bytes, const std::string& name) {
  const auto next = [&] {
    Pickle pickle(bytes, name);
    bytes = bytes.subspan(pickle.size());
    return pickle;
  };
  const Pickle magic = next();
  if (magic.root().kind != Kind::kBytes || magic.root().text != kLegacyMagic ||
      next().root().integer != kLegacyProtocol) {
    throw Error(ErrorCode::kInvalidArgument,
                name + " is a pickle that torch.save() has not written");
  }
  const Pickle system = next();
  const Node* const little_endian = system.find(system.root(), "little_endian");
  if (little_endian == nullptr || little_endian->integer != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                name + " was written on a big-endian machine, which Musher does not read");
  }
  const Pickle pickle = next();
  const Pickle keys = next();
  const auto storages = legacy_storages(bytes, pickle, keys, name);
  const StorageBytes storage = [&](const std::string& key) -> std::span<const std::byte> {
    const auto found = storages.find(key);
    if (found == storages.end())
      throw Error(ErrorCode::kDataLoss, fmt::format("{}: storage {} is missing", name, key));
    return found->second;
  };
  return from_state_dict(pickle, storage, name);
}

Safetensors from_state_dict(const Pickle& pickle, const StorageBytes& storage,
                            const std::string& name) {
  return Reader(pickle, storage, name).read();
}

}  // namespace musher
