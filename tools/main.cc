// The `tern` program. Sub-commands live in files of their own; this one only dispatches.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "kernels/dispatch.h"

int main(int argc, char** argv) {
  CLI::App app{"tern: ternary language models on CPUs"};
  app.require_subcommand(0, 1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return 0;
}
