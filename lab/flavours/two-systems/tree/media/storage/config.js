global.worker = "garage";
