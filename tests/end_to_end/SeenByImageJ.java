// Prints how ImageJ opens TIFF files and ROI sets, a line with tabs for each image and each region of interest.
// Arguments: a folder for pixels, then files. A ROI set (.zip) is measured in the image before it.

import ij.IJ;
import ij.ImagePlus;
import ij.gui.Roi;
import ij.io.RoiDecoder;
import ij.measure.Calibration;
import ij.process.ImageProcessor;
import ij.process.ImageStatistics;
import ij.process.LUT;
import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

public class SeenByImageJ {
    public static void main(String[] arguments) throws IOException {
        ImagePlus image = null;
        for (int number = 1; number < arguments.length; number++) {
            if (arguments[number].endsWith(".zip")) {
                printRegions(arguments[number], arguments[number - 1], image);
            } else {
                image = IJ.openImage(arguments[number]);
                printImage(arguments[number], image);
                writePixels(arguments[0] + "/" + (number - 1) + ".f4", image);
            }
        }
    }

    /** Path; width, height, channels, slices, frames; calibration; display range; colours of values 1 and 2; slice labels. */
    static void printImage(String path, ImagePlus image) {
        Calibration size = image.getCalibration();
        image.getBufferedImage();  // ImageJ chooses the display range of a composite when it draws it
        LUT colours = image.getProcessor().getLut();
        StringBuilder line = new StringBuilder("image\t" + path);
        for (int extent : image.getDimensions()) {
            line.append("\t" + extent);
        }
        line.append("\t" + size.pixelWidth + "\t" + size.pixelHeight + "\t" + size.pixelDepth);
        line.append("\t" + size.getUnit() + "\t" + size.frameInterval);
        line.append("\t" + image.getDisplayRangeMin() + "\t" + image.getDisplayRangeMax());
        for (int entry = 0; entry < 3; entry++) {
            line.append("\t" + colours.getRed(entry) + "," + colours.getGreen(entry) + "," + colours.getBlue(entry));
        }
        for (int slice = 1; slice <= image.getStackSize(); slice++) {
            line.append("\t" + image.getStack().getShortSliceLabel(slice));
        }
        System.out.println(line);
    }

    /** Write all values as float32, the highest byte first, slice by slice. */
    static void writePixels(String path, ImagePlus image) throws IOException {
        try (DataOutputStream stream = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(path)))) {
            for (int slice = 1; slice <= image.getStackSize(); slice++) {
                ImageProcessor plane = image.getStack().getProcessor(slice);
                for (int pixel = 0; pixel < plane.getPixelCount(); pixel++) {
                    stream.writeFloat(plane.getf(pixel));
                }
            }
        }
    }

    /** Path of the image; name, slice and frame of each region; number of pixels, smallest and largest value of the image in it. */
    static void printRegions(String path, String imagePath, ImagePlus image) throws IOException {
        try (ZipInputStream archive = new ZipInputStream(new FileInputStream(path))) {
            for (ZipEntry entry = archive.getNextEntry(); entry != null; entry = archive.getNextEntry()) {
                Roi region = new RoiDecoder(archive.readAllBytes(), entry.getName()).getRoi();
                int slice = Math.max(1, region.getZPosition());
                int frame = Math.max(1, region.getTPosition());
                ImageProcessor plane = image.getStack().getProcessor(image.getStackIndex(1, slice, frame));
                plane.setRoi(region);
                ImageStatistics found = plane.getStats();
                System.out.println(
                    "region\t" + imagePath + "\t" + region.getName() + "\t" + slice + "\t" + frame
                    + "\t" + found.pixelCount + "\t" + found.min + "\t" + found.max);
            }
        }
    }
}
