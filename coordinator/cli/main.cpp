// musher: the coordinator and its client in one program. Each command is a file of this folder.

#include <array>
#include <iostream>

#include <signal.h>

#include "coordinator/cli/command.h"

namespace {

using namespace musher::cli;

constexpr std::array kCommands = {&kTrain,  &kServe,    &kSubmit,  &kList,   &kStatus,   &kWatch,
                                  &kLogs,   &kMetrics,  &kReport,  &kQueue,  &kResize,   &kStop,
                                  &kDelete, &kValidate, &kCerts,   &kAccess, &kFunction, &kHosts,
                                  &kFleet,  &kSlurm,    &kEndpoint};

void print_help(std::ostream& out) {
  out << "musher COMMAND …\n\nTrains models on many machines.\n\n";
  for (const Command* command : kCommands) {
    std::string left = std::string("  ") + command->name + " " + command->arguments;
    left.resize(std::max<std::size_t>(left.size() + 1, 24), ' ');
    const std::string help = command->help;
    out << left << help.substr(0, help.find_first_of(".:")) << ".\n";
  }
  out << "\n`musher COMMAND --help` tells more. Exit codes: 0 Completed, 1 Failed, 2 usage or bad "
         "job, 3 Stopped, 4 the coordinator can't be reached.\n";
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    print_help(words.empty() ? std::cerr : std::cout);
    return words.empty() ? kUsage : kOk;
  }
  for (const Command* command : kCommands) {
    if (words[0] != command->name) continue;
    try {
      return command->run(*command, {words.begin() + 1, words.end()});
    } catch (const musher::Error& error) {
      return report(error);
    } catch (const std::exception& error) {
      std::cerr << "musher: " << error.what() << "\n";
      return kFailed;
    }
  }
  std::cerr << "musher: there is no command \"" << words[0] << "\"; see musher --help\n";
  return kUsage;
}
