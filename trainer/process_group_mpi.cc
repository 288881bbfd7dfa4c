// Processes that MPI connects. The only source that knows it.
#define OMPI_SKIP_MPICXX 1  // C++ bindings, which MPI has dropped
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "engine/error.h"
#include "trainer/process_group.h"

namespace tern {
namespace {

constexpr size_t kPiece = size_t{4} << 20;  // floats summed at a time: 16 MiB of others' values

// Failures of MPI itself end all processes: its default.
class MpiGroup final : public ProcessGroup {
 public:
  MpiGroup() {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiGroup() override { MPI_Finalize(); }
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string host() const override {
    char name[MPI_MAX_PROCESSOR_NAME];
    int length = 0;
    MPI_Get_processor_name(name, &length);
    return {name, static_cast<size_t>(length)};
  }
  void Sum(std::span<float> values) override {
    for (size_t at = 0; at < values.size(); at += kPiece)
      SumPiece(values.subspan(at, std::min(kPiece, values.size() - at)));
  }
  void Sum(std::span<double> values) override {
    const auto n = static_cast<int>(values.size());
    std::vector<double> all(values.size() * static_cast<size_t>(size_));
    MPI_Allgather(values.data(), n, MPI_DOUBLE, all.data(), n, MPI_DOUBLE, MPI_COMM_WORLD);
    AddUp(std::span<const double>(all), values);
  }
  void Broadcast(std::span<std::byte> bytes, int from) override {
    constexpr size_t kMost = size_t{1} << 30;  // counts are ints
    for (size_t at = 0; at < bytes.size(); at += kMost) {
      const size_t n = std::min(kMost, bytes.size() - at);
      MPI_Bcast(bytes.data() + at, static_cast<int>(n), MPI_BYTE, from, MPI_COMM_WORLD);
    }
  }
  // MPI's own waiting keeps a core busy, and the first process may take minutes to come.
  void Leave() override {
    MPI_Request request;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    for (int done = 0; done == 0;) {
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      if (done == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  [[noreturn]] void Abort() override {
    MPI_Abort(MPI_COMM_WORLD, 1);
    std::_Exit(1);
  }

 private:
  // `all`: the values of every rank, one behind the other.
  template <class T>
  void AddUp(std::span<const T> all, std::span<T> sums) const {
    std::ranges::copy(all.first(sums.size()), sums.begin());
    for (size_t r = 1; r < static_cast<size_t>(size_); ++r)
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += all[r * sums.size() + i];
  }

  // Every process gets all values of its part of the piece, adds them up and gives the sums to the
  // others: 2 (N - 1) / N of the piece sent and as much received, the least there is, in an order
  // that MPI_Allreduce leaves open.
  void SumPiece(std::span<float> piece) {
    const auto ranks = static_cast<size_t>(size_);
    const size_t part = (piece.size() + ranks - 1) / ranks;
    std::vector<int> counts, begins;
    for (size_t r = 0; r < ranks; ++r) {
      const size_t begin = std::min(piece.size(), r * part);
      begins.push_back(static_cast<int>(begin));
      counts.push_back(static_cast<int>(std::min(part, piece.size() - begin)));
    }
    const auto me = static_cast<size_t>(rank_);
    const std::span<float> own =
        piece.subspan(static_cast<size_t>(begins[me]), static_cast<size_t>(counts[me]));
    received_.resize(own.size() * ranks);
    std::vector<int> own_counts(ranks, counts[me]), own_begins;
    for (size_t r = 0; r < ranks; ++r) own_begins.push_back(static_cast<int>(r * own.size()));
    MPI_Alltoallv(piece.data(), counts.data(), begins.data(), MPI_FLOAT, received_.data(),
                  own_counts.data(), own_begins.data(), MPI_FLOAT, MPI_COMM_WORLD);
    AddUp(std::span<const float>(received_), own);
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, piece.data(), counts.data(), begins.data(),
                   MPI_FLOAT, MPI_COMM_WORLD);
  }

  int rank_ = 0, size_ = 1;
  std::vector<float> received_;
};

}  // namespace

std::unique_ptr<ProcessGroup> StartProcessGroup() {
  // Without a launcher MPI would start a daemon of its own.
  const bool launched = std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr ||
                        std::getenv("PMIX_RANK") != nullptr || std::getenv("PMI_SIZE") != nullptr;
  if (!launched) return std::make_unique<SingleProcess>();
  auto group = std::make_unique<MpiGroup>();
  if (group->size() == 1) {
    RequireOneProcess(
        "but they do not find each other: start them with the mpirun of the Open MPI that tern "
        "was built with");
  }
  return group;
}

}  // namespace tern
