#include "launch/shell.h"

namespace musher {

std::string quoted_for_shell(const std::string& word) {
  std::string text = "'";
  for (const char c : word) {
    if (c == '\'') text += "'\\'";
    text += c;
  }
  return text + "'";
}

}  // namespace musher
