#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace musher {

/// What a Python pickle describes, without doing it: a pickle is a program that may call anything,
/// and here nothing is called. A class or function is its name, and what was to be made by calling
/// one is the name with the arguments. Protocols 2 to 5 (Lib/pickletools.py).
class Pickle {
 public:
  enum class Kind {
    kNone,
    kInteger,  ///< also True and False
    kFloat,
    kText,
    kBytes,       ///< also a whole number beyond 64 bits, little-endian two's complement
    kList,        ///< also a set
    kTuple,       ///< items
    kDict,        ///< items: key, value, key, value, …; also an OrderedDict
    kGlobal,      ///< text: "module.name"
    kObject,      ///< items: what was to be called, and the tuple of its arguments
    kPersistent,  ///< items: what names a thing outside of the pickle
  };
  /// Of a node. Nodes name others by number, so that neither depth nor cycles do harm.
  using Id = std::uint32_t;
  struct Node {
    Kind kind = Kind::kNone;
    std::int64_t integer = 0;
    double real = 0;
    std::string text = {};
    std::vector<Id> items = {};
  };

  /// Reads from the beginning of `bytes` to the pickle's end; what follows is not looked at.
  /// kDataLoss saying `name` and what is wrong.
  Pickle(std::span<const std::byte> bytes, const std::string& name);

  const Node& root() const { return nodes_[root_]; }
  const Node& node(Id id) const { return nodes_[id]; }
  /// In the order in which they came to be.
  const std::deque<Node>& nodes() const { return nodes_; }
  /// How many bytes it has.
  std::size_t size() const { return size_; }

  /// The value of a key of text in a dict; null where it is not there.
  const Node* find(const Node& dict, std::string_view key) const;
  /// Whether `node` was to be made by calling `function`, "module.name".
  bool is_call(const Node& node, std::string_view function) const;
  /// The arguments of a kObject; null where there are fewer than `least`.
  const std::vector<Id>* arguments(const Node& object, std::size_t least) const;

 private:
  class Machine;

  std::deque<Node> nodes_;
  Id root_ = 0;
  std::size_t size_ = 0;
};

}  // namespace musher
