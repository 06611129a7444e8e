// The thread pool: a few threads that sleep while idle, and a barrier for those at work.
#pragma once

namespace unrolled {

class Pool;

// A claim on the pool for one job. If another caller holds the pool, or a thread cannot be started,
// the claim holds fewer threads, at least the caller's own: results never depend on how many.
class Lease {
  public:
    explicit Lease(int threads);  // threads >= 1
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    int threads() const { return threads_; }

    // Runs job(context, thread) for thread = 0 .. threads() - 1, the caller being thread 0, and
    // returns when all have returned. The job must not throw.
    void run(void (*job)(void* context, int thread), void* context);

    // Within a job: returns when every thread of this job has called it. Spins briefly, then sleeps.
    void barrier();

  private:
    Pool* pool_ = nullptr;  // null: none held, the caller's own thread is all there is
    int threads_ = 1;
};

}  // namespace unrolled
