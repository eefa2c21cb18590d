#include "coordinator/build_id.h"

#include <cstring>
#include <fstream>
#include <string_view>
#include <vector>

#include <elf.h>
#include <fmt/format.h>

namespace musher {

namespace {

constexpr std::uint64_t kLargestNotes = 1 << 16;
constexpr std::string_view kOwner("GNU\0", 4);

template <typename T>
bool read_at(std::ifstream& in, std::uint64_t offset, T* into, std::size_t count = 1) {
  in.seekg(static_cast<std::streamoff>(offset));
  in.read(reinterpret_cast<char*>(into), static_cast<std::streamsize>(count * sizeof(T)));
  return in.good();
}

std::size_t padded(std::size_t size) {
  return (size + 3) / 4 * 4;
}

/// The description of the build ID among the notes of a segment; empty where it is not there.
std::string_view find_id(std::string_view notes) {
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr head;
    std::memcpy(&head, notes.data(), sizeof head);
    notes.remove_prefix(sizeof head);
    const std::size_t name = padded(head.n_namesz);
    const std::size_t all = name + padded(head.n_descsz);
    if (all > notes.size()) return {};
    if (head.n_type == NT_GNU_BUILD_ID && notes.substr(0, head.n_namesz) == kOwner) {
      return notes.substr(name, head.n_descsz);
    }
    notes.remove_prefix(all);
  }
  return {};
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

}  // namespace

std::string build_id(const std::filesystem::path& program) {
  std::ifstream in(program, std::ios::binary);
  Elf64_Ehdr head{};
  if (!read_at(in, 0, &head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
      head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof(Elf64_Phdr)) {
    return "";
  }
  std::vector<Elf64_Phdr> segments(head.e_phnum);
  if (!read_at(in, head.e_phoff, segments.data(), segments.size())) return "";
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_NOTE || segment.p_filesz > kLargestNotes) continue;
    std::string notes(segment.p_filesz, '\0');
    if (!read_at(in, segment.p_offset, notes.data(), notes.size())) return "";
    const std::string_view id = find_id(notes);
    if (!id.empty()) return hex(id);
  }
  return "";
}

}  // namespace musher
