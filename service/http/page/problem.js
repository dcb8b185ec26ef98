/** Why something could not be done: an RFC 9457 problem, or a failure before there was one. */
export class Problem extends Error {
  /**
   * @param {Object} members `slug`, `detail`, and where known `status`, `requestId`, `retryAfterS`
   */
  constructor({ slug, detail, status = 0, requestId = null, retryAfterS = null }) {
    super(detail);
    Object.assign(this, { slug, detail, status, requestId, retryAfterS });
  }

  /** What happened and what to do, in plain words. */
  get headline() {
    return HEADLINES[this.slug] ?? "This file could not be read.";
  }

  get advice() {
    return ADVICE[this.slug] ?? "";
  }

  /** Whether the same file may well be read at another try. */
  get isPassing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const HEADLINES = {
  unreachable: "The service cannot be reached.",
  unopened: "The browser could not open this file.",
  "unsupported-media": "This file is not an image the service can read.",
  "unreadable-image": "This image is damaged or incomplete.",
  "unsupported-dicom": "This DICOM object is not a single radiograph.",
  "image-out-of-scope": "This image is not one the model can be asked about.",
  "unfamiliar-population": "The model was not validated on patients like this one.",
  "payload-too-large": "This file is too large for the service.",
  "too-costly": "Reading this file takes more than the service gives one image.",
  "invalid-request": "The service did not accept this request.",
  "unknown-model": "The chosen model is not loaded.",
  unauthorized: "The service does not know who asks.",
  forbidden: "Your key does not allow this.",
  "rate-limited": "This key has asked too often.",
  "queue-full": "The service is busy.",
  "not-ready": "The service is starting or stopping.",
  "deadline-exceeded": "The service did not finish in time.",
  "inference-failed": "The model gave no usable answer for this image.",
};

const ADVICE = {
  unreachable: "It may have stopped, or the network is down. Try again in a moment.",
  unopened: "It was moved, or may not be read. Choose it again.",
  "unsupported-media":
    "Its content is not JPEG, PNG or supported DICOM, whatever its name says. " +
    "Choose the original image.",
  "unreadable-image": "Choose the complete original file.",
  "unsupported-dicom": "Choose the image object itself: one frame, not a report or a series.",
  "payload-too-large": "Choose a smaller image, or ask who runs the service to raise the limit.",
  unauthorized: "Ask who runs the service for a key, and try again.",
  forbidden: "Ask who runs the service for one that does.",
  "rate-limited": "Try again in a moment.",
  "queue-full": "Try again in a moment.",
  "not-ready": "Try again in a moment.",
  "deadline-exceeded": "Try again, or with fewer files at a time.",
};
