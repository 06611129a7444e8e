    {
        static union {
            uint32_t aligned;
            unsigned char bytes[MODEL_FILE_BYTES];
        } weights;
        FILE *file = fopen("model.bin", "rb");
        if (file == 0) model_stop("file", 0);
        if (fread(weights.bytes, 1, MODEL_FILE_BYTES, file) != MODEL_FILE_BYTES) model_stop("file", 1);
        fclose(file);
        if (model_init(&one) != MODEL_NO_WEIGHTS) model_stop("no weights", 0);
        weights.bytes[MODEL_FILE_BYTES - 1] ^= 1u;
        if ((code = model_use(weights.bytes, MODEL_FILE_BYTES)) != MODEL_DAMAGED) model_stop("altered file", code);
        weights.bytes[MODEL_FILE_BYTES - 1] ^= 1u;
        if ((code = model_use(weights.bytes, MODEL_FILE_BYTES)) != MODEL_OK) model_stop("file", code);
    }
